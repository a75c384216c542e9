"""Ground floor: pure functions of arrays. No files, no names of tensors, no devices, no global chance."""
