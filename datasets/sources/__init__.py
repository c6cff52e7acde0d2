"""Where images and annotations come from: folders of VOC XML and TFDS datasets. A new source is added here."""
