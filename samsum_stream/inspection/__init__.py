"""What the commands show: check, stats, report, bench and trace."""
