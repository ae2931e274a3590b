"""The contract between agent and relay: everything that both must know, and nothing else."""
