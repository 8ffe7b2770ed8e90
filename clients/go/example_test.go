package rivulet_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	rivulet "github.com/rivulet-rt/rivulet/clients/go"
)

// Print the messages of a channel, for ever, across lost connections.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()

	client, err := rivulet.New("http://127.0.0.1:8080", rivulet.Options{Token: "…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.Connect(ctx); err != nil {
		fmt.Println(err)
		return
	}

	sub, err := client.Subscribe(ctx, "chat:lobby", rivulet.SubscribeOptions{Last: 50})
	if err != nil {
		fmt.Println(err)
		return
	}
	for m, err := range sub.Messages(ctx) {
		if gap, ok := errors.AsType[*rivulet.GapError](err); ok {
			fmt.Println("some messages are gone:", gap.Reason) // read the state anew, then go on
			continue
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.Offset, string(m.Data))
		// Persist m.Position here to go on from it in another process.
	}
}

// Publish one message; it is stored once, however often it had to be sent.
func ExampleClient_Publish() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	client, err := rivulet.New("http://127.0.0.1:8080", rivulet.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	if err := client.Connect(ctx); err != nil {
		fmt.Println(err)
		return
	}
	stored, err := client.Publish(ctx, "chat:lobby", map[string]string{"text": "hi"}, rivulet.PublishOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(stored.Offset)
}

// Publish from a back end that needs no connection of its own.
func ExamplePublisher() {
	publisher, err := rivulet.NewPublisher("http://127.0.0.1:8080", rivulet.PublisherOptions{Token: "…"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	outcomes, err := publisher.PublishBatch(ctx, []rivulet.Outgoing{
		{Channel: "orders:eu", Data: map[string]int{"id": 1}},
		{Channel: "orders:us", Data: map[string]int{"id": 2}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range outcomes {
		fmt.Println(o.Offset, o.Err)
	}
}
