package demo_test

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/rivulet-rt/rivulet/auth"
	"github.com/rivulet-rt/rivulet/cmd/demo"
)

func newTokens(t testing.TB) *demo.Tokens {
	t.Helper()
	tokens, err := demo.NewTokens(auth.Open{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// newSite is the page over a handler that answers with 418.
func newSite(t testing.TB) http.Handler {
	t.Helper()
	site, err := demo.NewSite(newTokens(t))
	if err != nil {
		t.Fatal(err)
	}
	return site.Over(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
}

func ask(t testing.TB, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// built are the paths of all files of the build.
func built(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	root := os.DirFS("dist")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files["/"+strings.TrimSuffix(name, "index.html")], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestEveryFileIsServed(t *testing.T) {
	kinds := map[string]string{
		"": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".md": "text/plain; charset=utf-8",
	}
	site := newSite(t)
	for name, content := range built(t) {
		t.Run(name, func(t *testing.T) {
			res := ask(t, site, http.MethodGet, name)
			if res.Code != http.StatusOK || !bytes.Equal(res.Body.Bytes(), content) {
				t.Fatalf("status %d, or another content than the file's", res.Code)
			}
			if got, want := res.Header().Get("Content-Type"), kinds[path.Ext(name)]; got != want {
				t.Errorf("Content-Type is %q, want %q", got, want)
			}
			for header, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Opener-Policy": "same-origin", "Vary": "Accept-Encoding",
			} {
				if got := res.Header().Get(header); got != want {
					t.Errorf("%s is %q, want %q", header, got, want)
				}
			}
			csp := res.Header().Get("Content-Security-Policy")
			if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'self';") {
				t.Errorf("the policy is %q", csp)
			}
			wantCache := "no-cache"
			if strings.HasPrefix(name, "/assets/") {
				wantCache = "public, max-age=31536000, immutable"
				if !regexp.MustCompile(`-[A-Za-z0-9_-]{8}\.(js|css)$`).MatchString(name) {
					t.Error("the name has no hash of the content, and browsers keep it forever")
				}
			}
			if got := res.Header().Get("Cache-Control"); got != wantCache {
				t.Errorf("Cache-Control is %q, want %q", got, wantCache)
			}
			again := ask(t, site, http.MethodGet, name, "If-None-Match", `"other", `+res.Header().Get("ETag"))
			if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
				t.Errorf("asked again with its ETag: status %d", again.Code)
			}
			head := ask(t, site, http.MethodHead, name)
			if head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("Content-Length") != res.Header().Get("Content-Length") {
				t.Errorf("HEAD: status %d, length %q", head.Code, head.Header().Get("Content-Length"))
			}
		})
	}
}

// The policy refuses what the page has inline, and the page would be blank.
func TestPageHasNothingInline(t *testing.T) {
	page := ask(t, newSite(t), http.MethodGet, "/").Body.String()
	for _, m := range regexp.MustCompile(`(?i)<script[^>]*>|<style[^>]*>|\son\w+=|\sstyle=|https?://`).FindAllString(page, -1) {
		if !strings.Contains(m, "src=") {
			t.Errorf("the page has %q", m)
		}
	}
	if !strings.Contains(page, "/assets/") {
		t.Error("the page is not the build: it loads no asset")
	}
}

func TestCompressed(t *testing.T) {
	site := newSite(t)
	plain := ask(t, site, http.MethodGet, "/").Body.Bytes()
	for accept, packed := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "*": true, "identity": false, "gzip;q=0": false, "gzip; q=0.0, *": false, "": false,
	} {
		res := ask(t, site, http.MethodGet, "/", "Accept-Encoding", accept)
		if got := res.Header().Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("Accept-Encoding %q: compressed is %v", accept, got)
			continue
		}
		body := res.Body.Bytes()
		if packed {
			r, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(body, plain) {
			t.Errorf("Accept-Encoding %q: another page", accept)
		}
	}
}

// A page that is loaded often is small: everything but what React takes.
func TestBuildIsSmall(t *testing.T) {
	const most = 106 << 10 // all that may be loaded; a page loads less
	sum := 0
	site := newSite(t)
	for name := range built(t) {
		if path.Ext(name) == ".js" {
			sum += ask(t, site, http.MethodGet, name, "Accept-Encoding", "gzip").Body.Len()
		}
	}
	if sum == 0 || sum > most {
		t.Errorf("the scripts have %d bytes compressed; there must be some, of at most %d", sum, most)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	site := newSite(t)
	for _, name := range []string{"/index.html", "/assets/", "/assets/none.js", "/dist/index.html", "/v1/ws", "/healthz", "//", "/assets/../theme.js", "/%2e%2e/site.go"} {
		if res := ask(t, site, http.MethodGet, name); res.Code != http.StatusTeapot {
			t.Errorf("GET %s: status %d; it is not the page's", name, res.Code)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
		res := ask(t, site, method, "/")
		if res.Code != http.StatusMethodNotAllowed || res.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s /: status %d, Allow %q", method, res.Code, res.Header().Get("Allow"))
		}
	}
}
