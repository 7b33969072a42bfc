"""InnVC beside other codecs: the same frames, the same measures, tables and plots.

Needs the packages of the extra `innvc[bench]`. Nothing else in the package imports it.
"""
