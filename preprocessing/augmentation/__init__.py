"""The paper's augmentation: its settings, and its steps as TensorFlow graphs. A new distortion is added here."""
