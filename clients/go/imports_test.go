package rivulet_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayBring are what the SDK brings along: a WebSocket, and of Protobuf no more than the
// primitives of its wire format.
var mayBring = []string{
	"github.com/gorilla/websocket", "google.golang.org/protobuf/encoding/protowire", "google.golang.org/protobuf/internal/",
}

// Whoever uses the SDK gets nothing of the server.
func TestImportClosure(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	const ours = "github.com/rivulet-rt/rivulet/"
	found := false
	for _, d := range deps {
		found = found || d == ours+"protocol"
		if strings.HasPrefix(d, ours) && d != ours+"protocol" && d != ours+"clients/go" {
			t.Errorf("imports %s", d)
		}
		if host, _, ok := strings.Cut(d, "/"); ok && strings.Contains(host, ".") && !strings.HasPrefix(d, ours) &&
			!slices.ContainsFunc(mayBring, func(prefix string) bool { return strings.HasPrefix(d, prefix) }) {
			t.Errorf("imports %s", d)
		}
	}
	if !found {
		t.Errorf("go list -deps does not show protocol: %v", deps)
	}
}
