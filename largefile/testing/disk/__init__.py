"""A disk that fails, a process that dies, a machine that loses its power: at the seam, `disk/fileops`."""
