"""Pascal VOC on disk: its trees, annotations and classes, and the schema of the encoded records."""
