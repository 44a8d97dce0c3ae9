"""Work with losses: pieces whose workers are killed, for the tests of processes and of a cluster."""
