"""Frames in and out: pixel formats, raw YUV, y4m and everything PyAV reads."""
