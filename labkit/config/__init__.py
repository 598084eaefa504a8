"""What is set outside the code: profiles, secrets, folders, and whether a file may be believed."""
