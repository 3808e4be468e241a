"""What every task shares and nothing else: types, checks, configuration, the run and its folder, verdicts."""
