"""Fitting the model to one segment of video. The decoder never imports this package."""
