package broker

import "strings"

// ext4Orderly reads the options of a mounted ext4, its defaults included. Without
// a journal it has no data= at all: a rename then starts to write the data first,
// but nothing makes the disk keep that order, so the server syncs by itself.
func ext4Orderly(options string) (why string) {
	has := map[string]bool{}
	for line := range strings.Lines(options) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		has[name] = true
		has[strings.TrimSpace(line)] = true
	}
	switch {
	case !has["auto_da_alloc"]:
		return "ext4 is mounted with noauto_da_alloc"
	case !has["data"]:
		return "ext4 has no journal"
	case !has["data=ordered"]:
		return "ext4 is not mounted with data=ordered"
	}
	return ""
}
