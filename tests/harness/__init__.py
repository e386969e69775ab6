"""What the tests run on: real servers, a counting proxy, certificates, the key-leak check."""
