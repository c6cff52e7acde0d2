"""From VOC to encoded records: matching, encoding, and the Beam job."""
