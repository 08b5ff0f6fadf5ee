"""Commands of asc-tf, a thin module each: parse flags, call the library, print."""
