"""What `taskvec bench` runs on: pretrained bases as Hugging Face folders, the data laid out, and the suites."""
