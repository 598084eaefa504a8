"""Load: where a replay ends up. Frames, Parquet files, scratch indices, and the continuous indexer."""
