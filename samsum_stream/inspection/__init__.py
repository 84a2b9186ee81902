"""The work behind the commands: check, stats, report, bench and trace."""
