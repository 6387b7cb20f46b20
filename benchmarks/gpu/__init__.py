"""One run on a GPU that checks and measures what only a GPU can show, see ``tools/analysis_tools/check_gpu.py``."""
