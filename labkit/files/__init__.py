"""Tables as files: Parquet, Arrow, CSV, Excel, lines of JSON."""
