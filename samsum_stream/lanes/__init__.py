"""The global order as pure arithmetic: which row a lane reads next, and which reader owns which lane."""
