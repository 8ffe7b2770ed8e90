package edge

import (
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rivulet-rt/rivulet/cmd/internal/pki"
)

// TestACertificateThatBeginsLaterIsTakenThen: though its files do not change any more, and
// at the latest when the one in use has ended.
func TestACertificateThatBeginsLaterIsTakenThen(t *testing.T) {
	for name, old := range map[string]time.Duration{"while the old one lasts": 3 * time.Hour, "when the old one ends": 30 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, dir, now := pki.New(t), t.TempDir(), time.Now()
				files := Files{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
				put := func(name string, from, to time.Time) {
					cert, key := a.Leaf(t, func(c *x509.Certificate) { c.Subject.CommonName, c.NotBefore, c.NotAfter = name, from, to })
					pki.Write(t, files.Cert, cert)
					pki.Write(t, files.Key, key)
				}
				put("old", now.Add(-time.Hour), now.Add(old))
				c, err := loadCertificate(files, slog.New(slog.DiscardHandler), newCertificateMetrics(prometheus.NewRegistry()))
				if err != nil {
					t.Fatal(err)
				}
				put("new", now.Add(time.Hour), now.Add(5*time.Hour))
				if err := c.reload(false); err == nil {
					t.Error("taken before it begins")
				}
				if err := c.reload(false); err != nil {
					t.Errorf("said again: %v", err)
				}
				wait := min(old, time.Hour) - time.Second
				time.Sleep(wait) //nolint:forbidigo // the bubble's clock
				if err := c.reload(false); err != nil || c.current.Load().cert.Leaf.Subject.CommonName != "old" {
					t.Errorf("a second too early: %v, %s is in use", err, c.current.Load().cert.Leaf.Subject.CommonName)
				}
				time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's clock
				if err := c.reload(false); err != nil || c.current.Load().cert.Leaf.Subject.CommonName != "new" {
					t.Errorf("then: %v, %s is in use", err, c.current.Load().cert.Leaf.Subject.CommonName)
				}
			})
		})
	}
}
