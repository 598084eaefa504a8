"""A window on a Dask cluster."""
