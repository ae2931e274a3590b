"""What people and scripts see of `postern-relay`."""
