"""Trained weights of other projects: their containers, their layouts, and the passport of an import."""
