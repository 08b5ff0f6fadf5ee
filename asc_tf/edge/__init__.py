"""Run an exported .tflite with LiteRT and NumPy alone, on a Raspberry Pi for one."""
