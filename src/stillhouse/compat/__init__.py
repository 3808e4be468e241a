"""Names of the five documents: flags as other names of settings."""
