"""Groups: who reads what and how far behind, and proof that the lab disturbed no other group."""
