"""Conversations, written by the chat template of a tokenizer.

conversation ──template──▶ text ──turns──▶ the prompt and the target of each assistant turn
"""
