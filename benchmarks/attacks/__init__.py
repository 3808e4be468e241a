"""What must not break: kills, damage, bad input, payloads, two writers, full disks. Each exits with 1 when something fell."""
