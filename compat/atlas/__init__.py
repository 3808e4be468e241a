"""The import path of the Atlas documents; all work is done by stillhouse."""
