"""What the measurements in docs come from; every script here runs alone."""
