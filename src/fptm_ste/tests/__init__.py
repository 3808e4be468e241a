"""The folder that the documents keep their runner in."""
