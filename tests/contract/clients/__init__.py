"""Programs that ask as the users of a client library do, each run by test_clients.py in its library's environment."""
