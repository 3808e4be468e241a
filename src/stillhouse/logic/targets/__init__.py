"""What clauses compile to: C, WebAssembly, Verilog, JSON."""
