package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/rivulet-rt/rivulet/session"
)

//go:embed all:dist
var dist embed.FS

// Site serves the page over the paths that it has files for. It is static.
type Site struct {
	files  map[string]*file // by path, as in /assets/index-….js
	tokens *Tokens
}

// file is one of the build's, as it is and compressed.
type file struct {
	kind, cache, tag string
	plain            []byte
	packed           []byte // gzip; nil where it saves nothing
}

// Paths that are not those of files.
const (
	TokenPath  = "/demo/token"
	assetsPath = "/assets/"
)

// policy lets the page load and reach nothing but the node itself.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// What may be kept: an asset has the hash of its content in its name, any other file is
// asked for again, which costs a 304.
const (
	cacheAsset = "public, max-age=31536000, immutable"
	cacheOther = "no-cache"
)

// NewSite reads the embedded build. The error is one of the build, not of the caller.
func NewSite(tokens *Tokens) (*Site, error) {
	s := &Site{files: map[string]*file{}, tokens: tokens}
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		at := strings.TrimPrefix(name, "dist")
		if at == "/index.html" {
			at = "/"
		}
		s.files[at], err = newFile(at, content)
		return err
	})
	if err == nil && s.files["/"] == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("demo: read the page: %w", err)
	}
	return s, nil
}

func newFile(at string, content []byte) (*file, error) {
	sum := sha256.Sum256(content)
	f := &file{kind: kind(at), cache: cacheOther, tag: hex.EncodeToString(sum[:12]), plain: content}
	if strings.HasPrefix(at, assetsPath) {
		f.cache = cacheAsset
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if b.Len() < len(content) {
		f.packed = b.Bytes()
	}
	return f, nil
}

// kind is the content type. The machine's own table does not get to say what is a script.
func kind(at string) string {
	switch path.Ext(at) {
	case "", ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".md":
		return "text/plain; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(at)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// Over is next with the page before it: whatever the page has nothing for, a path of it
// that does not exist included, is next's.
func (s *Site) Over(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == TokenPath {
			s.tokens.serve(w, r)
			return
		}
		f := s.files[r.URL.Path]
		switch {
		case f == nil:
			next.ServeHTTP(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			session.WriteHTTPStatus(w, http.StatusMethodNotAllowed, "the method is not one of GET, HEAD")
		default:
			f.serve(w, r)
		}
	})
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", f.cache)
	body, tag := f.plain, `"`+f.tag+`"`
	if f.packed != nil {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Values("Accept-Encoding")) {
			body, tag = f.packed, `"`+f.tag+`-gzip"`
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("ETag", tag)
	if has(r.Header.Values("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodHead {
		return
	}
	_, _ = w.Write(body) // the peer may be gone; there is nobody to tell
}

// has reports whether If-None-Match names the tag.
func has(values []string, tag string) bool {
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// takesGzip reads Accept-Encoding (RFC 9110, section 12.5.3): gzip, or anything, that is
// not given a weight of 0.
func takesGzip(values []string) bool {
	takes := false
	for _, v := range values {
		for one := range strings.SplitSeq(v, ",") {
			name, params, _ := strings.Cut(one, ";")
			_, weight, _ := strings.Cut(params, "=")
			q, err := strconv.ParseFloat(strings.TrimSpace(weight), 64)
			refused := err == nil && q == 0
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip":
				return !refused
			case "*":
				takes = !refused
			}
		}
	}
	return takes
}
