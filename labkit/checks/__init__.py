"""What a user gave is checked: names, options, values; what was meant is suggested."""
