"""The prompts that LLMs are given, one Markdown file each; data, read by orchestration/prompts.py."""
