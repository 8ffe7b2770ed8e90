package cmd

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/rivulet-rt/rivulet/fanout"
)

func newSchedule(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schedule",
		Short: "List and cancel scheduled messages",
		Long: `A message that was published with --delay waits until it is due. These commands show
what waits, and take it back.`,
		Args: commandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newScheduleList(s), newScheduleShow(s), newScheduleCancel(s))
	return cmd
}

func newScheduleList(s Streams) *cobra.Command {
	var f clientFlags
	var channel, prefix string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print the messages that wait, one line of JSON each",
		Example: `  rivulet schedule list
  rivulet schedule list --channel chat:lobby
  rivulet schedule list --prefix orders:eu.`,
		Args: arguments(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if channel != "" {
				if _, err := fanout.ParseChannel(channel); err != nil {
					return usagef("%w", err)
				}
				query.Set("channel", channel)
			}
			if prefix != "" {
				query.Set("prefix", prefix)
			}
			n, err := f.connect(s.Environ)
			if err != nil {
				return err
			}
			return listSchedules(cmd.Context(), n, query, s)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&channel, "channel", "", "only those of this `channel`")
	cmd.Flags().StringVar(&prefix, "prefix", "", "only those of channels that begin with this `text`")
	return cmd
}

func listSchedules(ctx context.Context, n *node, query url.Values, s Streams) error {
	for {
		var page struct {
			Schedules []json.RawMessage `json:"schedules"`
			Next      string            `json:"next"`
		}
		if err := n.ask(ctx, http.MethodGet, "/v1/schedules", query, nil, &page); err != nil {
			return err
		}
		if err := printAll(s.Out, page.Schedules); err != nil || page.Next == "" {
			return err
		}
		query.Set("after", page.Next)
	}
}

func newScheduleShow(s Streams) *cobra.Command {
	return oneSchedule(s, http.MethodGet, "show", "Print one message that waits, with its data")
}

func newScheduleCancel(s Streams) *cobra.Command {
	return oneSchedule(s, http.MethodDelete, "cancel", "Take a message back before it is due")
}

func oneSchedule(s Streams, method, name, short string) *cobra.Command {
	var f clientFlags
	cmd := &cobra.Command{
		Use:     name + " SCHEDULE",
		Short:   short,
		Example: "  rivulet schedule " + name + " k4mtmq6cd1p7a6b0hlq9v2e3rs",
		Args:    arguments(1, 1, "the schedule that publishing printed"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.connect(s.Environ)
			if err != nil {
				return err
			}
			var schedule json.RawMessage
			if err := n.ask(cmd.Context(), method, "/v1/schedules/"+url.PathEscape(args[0]), nil, nil, &schedule); err != nil {
				return err
			}
			return printLine(s.Out, schedule)
		},
	}
	f.add(cmd)
	return cmd
}
