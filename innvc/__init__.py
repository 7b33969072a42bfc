"""InnVC: a neural video codec that fits a small invertible network to one video."""

__version__ = "0.1.0"
