"""Names of splits."""


def check_split_name(split: str) -> None:
    """Checks that a split of an encoded dataset can have this name; ValueError says what is expected."""
    if not split.isidentifier() or split == "all":  # TFDS's name for the sum of the splits
        raise ValueError(f"a split is named by letters, digits and underscores, and not 'all', got {split!r}")
