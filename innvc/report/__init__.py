"""One self-contained page that shows an encode or a benchmark: charts, tables and pictures."""
