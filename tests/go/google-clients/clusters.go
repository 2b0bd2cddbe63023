package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	container "cloud.google.com/go/container/apiv1"
	"cloud.google.com/go/container/apiv1/containerpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
)

func engine(ctx context.Context, transport string, options []option.ClientOption) (*container.ClusterManagerClient, error) {
	if transport == "rest" {
		return container.NewClusterManagerRESTClient(ctx, options...)
	}
	return container.NewClusterManagerClient(ctx, options...)
}

func wants(state containerpb.DatabaseEncryption_State, key string) *containerpb.ClusterUpdate {
	return &containerpb.ClusterUpdate{
		DesiredDatabaseEncryption: &containerpb.DatabaseEncryption{State: state, KeyName: key},
	}
}

// clusters tells of a cluster that waits for its hosts: create, get, list, what is refused meanwhile, operations, cancel.
func clusters(ctx context.Context, transport string, options []option.ClientOption, project, id string) error {
	client, err := engine(ctx, transport, options)
	if err != nil {
		return err
	}
	defer client.Close()
	parent := fmt.Sprintf("projects/%s/locations/%s", project, location)
	name := parent + "/clusters/" + id
	_, err = client.GetCluster(ctx, &containerpb.GetClusterRequest{Name: name})
	if err := refused(codes.NotFound, err); err != nil {
		return err
	}
	create := &containerpb.CreateClusterRequest{Parent: parent, Cluster: &containerpb.Cluster{
		Name:      id,
		NodePools: []*containerpb.NodePool{{Name: "default-pool", InitialNodeCount: 3}},
	}}
	begun, err := client.CreateCluster(ctx, create)
	if err != nil {
		return fmt.Errorf("CreateCluster: %w", err)
	}
	if begun.Status != containerpb.Operation_RUNNING || begun.OperationType != containerpb.Operation_CREATE_CLUSTER {
		return fmt.Errorf("CreateCluster: %v", begun)
	}
	step("CreateCluster")
	_, err = client.CreateCluster(ctx, create)
	if err := refused(codes.AlreadyExists, err); err != nil {
		return err
	}
	if err := look(ctx, client, project, id); err != nil {
		return err
	}
	if err := refusals(ctx, client, parent, name, begun.Name); err != nil {
		return err
	}
	if err := operations(ctx, client, parent, begun.Name); err != nil {
		return err
	}
	_, err = client.GetCluster(ctx, &containerpb.GetClusterRequest{Name: name})
	if err := refused(codes.NotFound, err); err != nil {
		return err
	}
	config, err := client.GetServerConfig(ctx, &containerpb.GetServerConfigRequest{Name: parent})
	if err != nil || config.DefaultClusterVersion != "latest" {
		return fmt.Errorf("GetServerConfig: %v, %w", config, err)
	}
	step("GetServerConfig")
	elsewhere := "projects/somebody-elses/locations/-"
	_, err = client.ListClusters(ctx, &containerpb.ListClustersRequest{Parent: elsewhere})
	return refused(codes.PermissionDenied, err)
}

func look(ctx context.Context, client *container.ClusterManagerClient, project, id string) error {
	parent := fmt.Sprintf("projects/%s/locations/%s", project, location)
	cluster, err := client.GetCluster(ctx, &containerpb.GetClusterRequest{Name: parent + "/clusters/" + id})
	if err != nil {
		return fmt.Errorf("GetCluster: %w", err)
	}
	if cluster.Status != containerpb.Cluster_PROVISIONING ||
		cluster.DatabaseEncryption.GetState() != containerpb.DatabaseEncryption_DECRYPTED ||
		len(cluster.NodePools) != 1 || cluster.NodePools[0].InitialNodeCount != 3 {
		return fmt.Errorf("GetCluster: %v", cluster)
	}
	step("GetCluster")
	for _, where := range []string{parent, "projects/" + project + "/locations/-"} {
		listed, err := client.ListClusters(ctx, &containerpb.ListClustersRequest{Parent: where})
		if err != nil {
			return fmt.Errorf("ListClusters of %s: %w", where, err)
		}
		if len(listed.Clusters) != 1 || listed.Clusters[0].Name != id {
			return fmt.Errorf("ListClusters of %s: %v", where, listed)
		}
	}
	step("ListClusters")
	return nil
}

// refusals: while an operation runs, of a key elsewhere, and of what is not served.
func refusals(ctx context.Context, client *container.ClusterManagerClient, parent, name, running string) error {
	plain := wants(containerpb.DatabaseEncryption_DECRYPTED, "")
	_, err := client.UpdateCluster(ctx, &containerpb.UpdateClusterRequest{Name: name, Update: plain})
	if err == nil || !strings.Contains(err.Error(), running) {
		return fmt.Errorf("UpdateCluster should name %s: %w", running, err)
	}
	if err := refused(codes.FailedPrecondition, err); err != nil {
		return err
	}
	_, err = client.DeleteCluster(ctx, &containerpb.DeleteClusterRequest{Name: name})
	if err := refused(codes.FailedPrecondition, err); err != nil {
		return err
	}
	labels := &containerpb.SetLabelsRequest{Name: name, ResourceLabels: map[string]string{"a": "b"}}
	_, err = client.SetLabels(ctx, labels)
	if err := refused(codes.FailedPrecondition, err); err != nil {
		return err
	}
	wrong := &containerpb.Cluster{Name: "other", DatabaseEncryption: &containerpb.DatabaseEncryption{
		State: containerpb.DatabaseEncryption_ENCRYPTED, KeyName: "projects/p/locations/global/keyRings/r/cryptoKeys/k",
	}}
	_, err = client.CreateCluster(ctx, &containerpb.CreateClusterRequest{Parent: parent, Cluster: wrong})
	if err := refused(codes.InvalidArgument, err); err != nil {
		return err
	}
	unserved := &containerpb.Cluster{Name: "other", NetworkPolicy: &containerpb.NetworkPolicy{Enabled: true}}
	_, err = client.CreateCluster(ctx, &containerpb.CreateClusterRequest{Parent: parent, Cluster: unserved})
	if err == nil || !strings.Contains(err.Error(), "cluster.network_policy") {
		return fmt.Errorf("CreateCluster should name the field: %w", err)
	}
	return refused(codes.Unimplemented, err)
}

func operations(ctx context.Context, client *container.ClusterManagerClient, parent, id string) error {
	name := parent + "/operations/" + id
	running, err := client.GetOperation(ctx, &containerpb.GetOperationRequest{Name: name})
	if err != nil || running.Status != containerpb.Operation_RUNNING {
		return fmt.Errorf("GetOperation: %v, %w", running, err)
	}
	listed, err := client.ListOperations(ctx, &containerpb.ListOperationsRequest{Parent: parent})
	if err != nil {
		return fmt.Errorf("ListOperations: %w", err)
	}
	found := false
	for _, it := range listed.Operations {
		found = found || it.Name == id
	}
	if !found {
		return fmt.Errorf("ListOperations without %s: %v", id, listed)
	}
	step("GetOperation, ListOperations")
	if err := client.CancelOperation(ctx, &containerpb.CancelOperationRequest{Name: name}); err != nil {
		return fmt.Errorf("CancelOperation: %w", err)
	}
	ended, err := client.GetOperation(ctx, &containerpb.GetOperationRequest{Name: name})
	if err != nil || ended.Status != containerpb.Operation_DONE || ended.Error.GetCode() != int32(codes.Canceled) {
		return fmt.Errorf("GetOperation of what was cancelled: %v, %w", ended, err)
	}
	step("CancelOperation")
	return nil
}

// encryption tells of a cluster that a server runs itself: made in plain, encrypted, in plain again, deleted.
func encryption(ctx context.Context, transport string, options []option.ClientOption, project, id, key string) error {
	client, err := engine(ctx, transport, options)
	if err != nil {
		return err
	}
	defer client.Close()
	// It must be where its key is.
	parent := fmt.Sprintf("projects/%s/locations/%s", project, strings.Split(key, "/")[3])
	name := parent + "/clusters/" + id
	created, err := client.CreateCluster(ctx, &containerpb.CreateClusterRequest{
		Parent: parent, Cluster: &containerpb.Cluster{Name: id},
	})
	if err := done(ctx, client, parent, created, err); err != nil {
		return fmt.Errorf("CreateCluster: %w", err)
	}
	step("CreateCluster")
	for _, it := range []struct {
		state containerpb.DatabaseEncryption_State
		key   string
	}{{containerpb.DatabaseEncryption_ENCRYPTED, key}, {containerpb.DatabaseEncryption_DECRYPTED, ""}} {
		updated, err := client.UpdateCluster(ctx, &containerpb.UpdateClusterRequest{Name: name, Update: wants(it.state, it.key)})
		if err := done(ctx, client, parent, updated, err); err != nil {
			return fmt.Errorf("UpdateCluster to %v: %w", it.state, err)
		}
		cluster, err := client.GetCluster(ctx, &containerpb.GetClusterRequest{Name: name})
		if err != nil {
			return fmt.Errorf("GetCluster: %w", err)
		}
		got := cluster.DatabaseEncryption
		if cluster.Status != containerpb.Cluster_RUNNING || got.GetState() != it.state || got.GetKeyName() != it.key {
			return fmt.Errorf("GetCluster after UpdateCluster to %v: %v", it.state, cluster)
		}
		step("UpdateCluster to " + it.state.String())
	}
	deleted, err := client.DeleteCluster(ctx, &containerpb.DeleteClusterRequest{Name: name})
	if err := done(ctx, client, parent, deleted, err); err != nil {
		return fmt.Errorf("DeleteCluster: %w", err)
	}
	step("DeleteCluster")
	_, err = client.GetCluster(ctx, &containerpb.GetClusterRequest{Name: name})
	return refused(codes.NotFound, err)
}

// done waits until what was begun has ended, and says how it failed.
func done(ctx context.Context, client *container.ClusterManagerClient, parent string, begun *containerpb.Operation, err error) error {
	for err == nil && begun.Status != containerpb.Operation_DONE {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%v: %w", begun, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
		begun, err = client.GetOperation(ctx, &containerpb.GetOperationRequest{Name: parent + "/operations/" + begun.Name})
	}
	if err == nil && begun.Error != nil {
		return fmt.Errorf("it failed: %v", begun)
	}
	return err
}
