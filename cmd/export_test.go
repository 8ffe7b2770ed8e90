package cmd

// ConnectionsWithinForTest is connectionsWithin.
func ConnectionsWithinForTest(descriptors uint64) int { return connectionsWithin(descriptors) }
