"""What several test modules need: servers, processes and people to test with.

No test module imports from another.
"""
