package cmd

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// clientFlags are the flags of every command that speaks to a node.
type clientFlags struct {
	url       string
	token     string
	tokenFile string
	ca        string
	cert      string
	certKey   string

	tls *tls.Config // of the files, after resolve; nil is Go's default
}

const defaultURL = "http://127.0.0.1:8080"

// add declares the flags. Their defaults come from the environment when the
// command runs, so that --help shows no token.
func (f *clientFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.url, "url", "", "`address` of the node (env RIVULET_URL; default "+defaultURL+")")
	fs.StringVar(&f.token, "token", "", "`token` or API key (env RIVULET_TOKEN)")
	fs.StringVar(&f.tokenFile, "token-file", "", "`file` with the token, which other users' ps cannot see")
	fs.StringVar(&f.ca, "ca", "", "`file` with the authorities that the node's certificate may be of, in PEM (env RIVULET_CA; default the system's)")
	fs.StringVar(&f.cert, "cert", "", "`file` with a client certificate to be known by, in PEM (env RIVULET_CERT)")
	fs.StringVar(&f.certKey, "cert-key", "", "`file` with the private key of --cert (env RIVULET_CERT_KEY)")
}

// resolve fills in what the environment and the file say.
func (f *clientFlags) resolve(environ []string) error {
	if f.url == "" {
		f.url = lookup(environ, envPrefix+"URL")
	}
	if f.url == "" {
		f.url = defaultURL
	}
	if u, err := url.Parse(f.url); err != nil || u.Host == "" {
		return usagef("--url %q: write for example %s", f.url, defaultURL)
	}
	if f.tokenFile != "" {
		if f.token != "" {
			return usagef("--token and --token-file exclude each other")
		}
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		f.token = strings.TrimSpace(string(text))
	}
	if f.token == "" {
		f.token = lookup(environ, envPrefix+"TOKEN")
	}
	for name, file := range map[string]*string{"CA": &f.ca, "CERT": &f.cert, "CERT_KEY": &f.certKey} {
		if *file == "" {
			*file = lookup(environ, envPrefix+name)
		}
	}
	var err error
	f.tls, err = f.loadTLS()
	return err
}
