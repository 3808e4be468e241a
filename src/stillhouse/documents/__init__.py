"""The five documents by their own words: files that their commands name, and the programs behind these files."""
