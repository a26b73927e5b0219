"""Images on the device and the views of them that networks see."""
