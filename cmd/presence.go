package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/fanout"
)

func newPresence(s Streams) *cobra.Command {
	var client clientFlags
	var counts bool
	cmd := &cobra.Command{
		Use:   "presence CHANNEL",
		Short: "List who is subscribed to a channel, on all nodes",
		Long: `Prints one line of JSON for each connection that is subscribed to the channel, and
says on stderr how many there are, of how many users. With --counts it prints the
numbers alone. The channel's namespace must have presence.`,
		Example: `  rivulet presence chat:lobby
  rivulet presence chat:lobby --counts`,
		Args: arguments(1, 1, "a channel"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.resolve(s.Environ); err != nil {
				return err
			}
			if _, err := fanout.ParseChannel(args[0]); err != nil {
				return usagef("%w", err)
			}
			return listMembers(cmd.Context(), s, &client, args[0], counts)
		},
	}
	client.add(cmd)
	cmd.Flags().BoolVar(&counts, "counts", false, "print only how many there are")
	return cmd
}

// membersAnswer is the data of a page of members.
type membersAnswer struct {
	Members []json.RawMessage `json:"members"`
	Clients int               `json:"clients"`
	Users   int               `json:"users"`
	Next    string            `json:"next"`
	Partial bool              `json:"partial"`
}

func listMembers(ctx context.Context, s Streams, client *clientFlags, channel string, counts bool) error {
	path := "/v1/channels/" + url.PathEscape(channel) + "/presence"
	query := "?limit=" + strconv.Itoa(fanout.MaxMembers)
	if counts {
		query = "?counts=true"
	}
	var page membersAnswer
	for after := ""; ; after = "&after=" + page.Next {
		page = membersAnswer{}
		if err := client.node().ask(ctx, http.MethodGet, path+query+after, nil, nil, &page); err != nil {
			return err
		}
		if counts {
			return printLine(s.Out, struct {
				Clients int  `json:"clients"`
				Users   int  `json:"users"`
				Partial bool `json:"partial"`
			}{page.Clients, page.Users, page.Partial})
		}
		for _, m := range page.Members {
			fmt.Fprintf(s.Out, "%s\n", m)
		}
		if page.Next == "" {
			break
		}
	}
	fmt.Fprintf(s.Err, "%s of %s%s\n", plural(page.Clients, "connection"), plural(page.Users, "user"), partially(page.Partial))
	return nil
}

// plural is n with a noun that takes an s.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func partially(partial bool) string {
	if partial {
		return "; not every node has answered, there may be more"
	}
	return ""
}

func newConnections(s Streams) *cobra.Command {
	var client clientFlags
	var disconnect bool
	var code int
	var reason string
	cmd := &cobra.Command{
		Use:   "connections USER",
		Short: "List a user's connections, or disconnect them",
		Long: `Prints one line of JSON for each of the user's connections, on all nodes. With
--disconnect they are closed, and the clients stay away until they are started anew,
unless --code says otherwise; a token that is still valid lets the user come back.
It needs the action manage on all channels, "*:>".`,
		Example: `  rivulet connections ann
  rivulet connections ann --disconnect --reason 'the account was closed'`,
		Args: arguments(1, 1, "a user"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.resolve(s.Environ); err != nil {
				return err
			}
			method, query := http.MethodGet, url.Values{}
			if disconnect {
				method = http.MethodDelete
				query.Set("code", strconv.Itoa(code))
				if reason != "" {
					query.Set("reason", reason)
				}
			} else if cmd.Flags().Changed("code") || reason != "" {
				return usagef("--code and --reason are for --disconnect")
			}
			return listConnections(cmd.Context(), s, &client, method, args[0], query)
		},
	}
	client.add(cmd)
	cmd.Flags().BoolVar(&disconnect, "disconnect", false, "close them")
	cmd.Flags().IntVar(&code, "code", 4202, "close `code`: 4003 come back, 4006 come back with a fresh token, 4201 the token is not valid, 4202 stay away")
	cmd.Flags().StringVar(&reason, "reason", "", "`text` that the client is told, instead of \"disconnected by an administrator\"")
	return cmd
}

func listConnections(ctx context.Context, s Streams, client *clientFlags, method, user string, query url.Values) error {
	path := "/v1/users/" + url.PathEscape(user) + "/connections"
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var answer struct {
		Connections []json.RawMessage `json:"connections"`
		More        bool              `json:"more"`
		Partial     bool              `json:"partial"`
	}
	if err := client.node().ask(ctx, method, path, nil, nil, &answer); err != nil {
		return err
	}
	for _, c := range answer.Connections {
		fmt.Fprintf(s.Out, "%s\n", c)
	}
	more := ""
	if answer.More {
		more = " and more"
	}
	fmt.Fprintf(s.Err, "%s%s%s\n", plural(len(answer.Connections), "connection"), more, partially(answer.Partial))
	return nil
}
