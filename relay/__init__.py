"""The cloud side: takes connectors' requests and sends them down the tunnels that agents dialled."""
