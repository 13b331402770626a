"""What a texture job gets of an object of the scene: its triangles as they stand there, its UV map, its look."""

import importlib
import math
import sys

import numpy as np
import pytest
from made_jobs import counts

import headless
from sdi_engine.surface.source import read_source

GREY = 231
"""0.8, the colour of what has no material, as sRGB."""


@pytest.fixture(scope="module")
def blender():
    bpy = pytest.importorskip("bpy")
    bpy.ops.wm.read_factory_settings()
    return bpy


@pytest.fixture
def bpy(blender):
    """Blender with a cube, a camera and a light: faster than resetting its add-ons, too."""
    blender.ops.wm.read_homefile()
    return blender


@pytest.fixture(scope="module")
def extension(blender):
    """The extension's package; nothing here needs it to be enabled."""
    return headless.load()


@pytest.fixture
def source_mesh(extension):
    return importlib.import_module(f"{extension.__name__}.scene.source_mesh")


@pytest.fixture
def capture(bpy, source_mesh):
    """The source of an object; nothing may be left behind in the file."""

    def capture(thing, **how):
        bpy.context.view_layer.update()
        before = counts(bpy), [scene.name for scene in bpy.data.scenes], bpy.context.scene
        try:
            return source_mesh.capture(bpy.context, thing, **how)
        finally:
            assert before == (counts(bpy), [scene.name for scene in bpy.data.scenes], bpy.context.scene)

    return capture


@pytest.fixture
def refusal(extension, capture):
    """The sentence with which an object is refused."""

    def refusal(thing, **how):
        with pytest.raises(extension.sdi_engine.errors.BadInputError) as refused:
            capture(thing, **how)
        assert str(refused.value).replace(".blend", "").count(".") <= 1
        return str(refused.value)

    return refusal


@pytest.fixture
def cube(bpy):
    return bpy.data.objects["Cube"]


@pytest.fixture
def make(bpy):
    """An object of these vertices and polygons, without a UV map; polygons with the UVs of a list of corners."""

    def make(vertices, polygons, uv=None):
        mesh = bpy.data.meshes.new("Made")
        mesh.from_pydata(vertices, [], polygons)
        if uv is not None:
            mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", np.array(uv, np.float32).ravel())
        thing = bpy.data.objects.new("Made", mesh)
        bpy.context.scene.collection.objects.link(thing)
        return thing

    return make


@pytest.fixture
def square(make):
    """A unit square in two halves, left and right, whose UVs are its x and y."""
    vertices = [(x, y, 0) for y in (0, 1) for x in (0, 0.5, 1)]
    left, right = (0, 1, 4, 3), (1, 2, 5, 4)
    return make(vertices, [left, right], [vertices[at][:2] for at in (*left, *right)])


@pytest.fixture
def material(bpy):
    """A new material, and its Principled BSDF."""

    def make(colour=None, metallic=0.0):
        made = bpy.data.materials.new("Made")
        made.use_nodes = True
        shader = made.node_tree.nodes["Principled BSDF"]
        shader.inputs["Metallic"].default_value = metallic
        if colour is not None:
            shader.inputs["Base Color"].default_value = (*colour, 1.0)
        return made, shader

    return make


def feed(node, kind, output, **settings):
    """Let a new node feed a shader's base colour; returns the new node."""
    tree = node.id_data
    made = tree.nodes.new(kind)
    for name, value in settings.items():
        setattr(made, name, value)
    tree.links.new(made.outputs[output], node.inputs["Base Color"])
    return made


def checker(bpy, size=8, cells=2):
    """An image with red at the bottom left, and green at the top right."""
    image = bpy.data.images.new("Checker", size, size)
    pixels = np.zeros((size, size, 4), np.float32)
    pixels[..., 3] = 1.0
    half = size // 2
    pixels[:half, :half, 0] = 1.0
    pixels[half:, half:, 1] = 0.5
    image.pixels.foreach_set(pixels.ravel())
    return image


def flat_normals(source):
    a, b, c = np.moveaxis(source.vertices[source.faces], 1, 0)
    normals = np.cross(b - a, c - a)
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def looks_outside(source):
    outwards = source.vertices[source.faces].mean(axis=1) - source.vertices.mean(axis=0)
    return bool(((flat_normals(source) * outwards).sum(axis=1) > 0).all())


def spans(source):
    return [(low, high) for low, high in zip(source.vertices.min(axis=0), source.vertices.max(axis=0), strict=True)]


class TestGeometry:
    def test_it_is_in_world_space_with_scale_and_parents(self, bpy, cube, capture):
        parent = bpy.data.objects.new("Parent", None)
        bpy.context.scene.collection.objects.link(parent)
        parent.location = (0.0, 0.0, 10.0)
        parent.rotation_euler.z = math.pi / 2
        cube.parent, cube.location, cube.scale = parent, (5.0, 0.0, 0.0), (1.0, 2.0, 3.0)
        source = capture(cube)
        assert spans(source) == [pytest.approx(span, abs=1e-5) for span in ((-2, 2), (4, 6), (7, 13))]
        assert np.abs(np.linalg.norm(source.normals, axis=-1) - 1).max() < 1e-5

    @pytest.mark.parametrize("scale", [(1, 1, 1), (-1, 2, 1), (-1, -2, 1), (-1, -1, -3)])
    def test_its_outside_stays_outside_with_a_negative_scale(self, cube, capture, scale):
        cube.scale = scale
        source = capture(cube)
        assert looks_outside(source)
        assert source.normals == pytest.approx(np.repeat(flat_normals(source)[:, None], 3, axis=1), abs=1e-5)

    def test_polygons_become_triangles_with_the_uvs_of_their_corners(self, make, capture):
        corners = [(math.cos(angle), math.sin(angle), 0.0) for angle in np.arange(7) * math.tau / 7]
        source = capture(make(corners, [tuple(range(7))], [corner[:2] for corner in corners]))
        assert source.faces.shape == (5, 3)
        assert source.uv == pytest.approx(source.vertices[source.faces][..., :2])
        assert (flat_normals(source)[:, 2] > 0.99).all()

    def test_one_triangle_is_a_mesh(self, make, capture):
        source = capture(make([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)]))
        assert source.faces.tolist() == [[0, 1, 2]]
        assert source.uv is None
        assert source.uv_name == ""

    def test_the_modifiers_are_as_the_viewport_shows_them(self, cube, capture, source_mesh):
        plain = capture(cube)
        assert plain.topology.tolist() == source_mesh.topology_of(cube.data).tolist()
        array = cube.modifiers.new("Array", "ARRAY")
        source = capture(cube)
        assert len(source.faces) == 24
        assert spans(source)[0] == pytest.approx((-1, 3))
        assert source.topology.tolist() != source_mesh.topology_of(cube.data).tolist()
        array.show_viewport = False
        assert capture(cube).topology.tolist() == plain.topology.tolist()

    def test_shape_keys_move_its_vertices(self, cube, capture, source_mesh):
        cube.shape_key_add(name="Basis")
        key = cube.shape_key_add(name="High")
        for point in key.data:
            point.co.z += 4.0
        key.value = 0.5
        source = capture(cube)
        assert spans(source)[2] == pytest.approx((1, 3))
        assert source.topology.tolist() == source_mesh.topology_of(cube.data).tolist()

    def test_edit_mode_counts_with_what_was_edited_so_far(self, bpy, cube, capture):
        bpy.context.view_layer.objects.active = cube
        bpy.ops.object.mode_set(mode="EDIT")
        bpy.ops.mesh.select_all(action="SELECT")
        bpy.ops.mesh.subdivide()
        assert len(capture(cube).faces) == 48
        assert cube.mode == "EDIT"

    @pytest.mark.parametrize("how", ["Dyntopo", "Multiresolution"])
    def test_strokes_that_are_not_in_the_mesh_yet_are_not_left_out_silently(self, bpy, cube, capture, how):
        bpy.context.view_layer.objects.active = cube
        if how == "Multiresolution":
            cube.modifiers.new("Multires", "MULTIRES")
        bpy.ops.object.mode_set(mode="SCULPT")
        if how == "Dyntopo":
            bpy.ops.sculpt.dynamic_topology_toggle()
        with pytest.raises(Exception, match=f'"Cube" is sculpted with {how}, .*: leave that first'):
            capture(cube)
        bpy.ops.object.mode_set(mode="OBJECT")
        assert len(capture(cube).faces) == 12

    def test_a_corner_is_the_loop_that_it_was_made_of(self, cube, capture):
        cube.scale.x = -1.0
        source = capture(cube)
        at = np.array([loop.vertex_index for loop in cube.data.loops])
        assert (at[source.corners] == source.faces).all()
        uv = np.array([each.vector for each in cube.data.uv_layers.active.uv])
        assert source.uv == pytest.approx(uv[source.corners])

    def test_the_active_uv_map_counts_and_not_the_rendered_one(self, cube, capture):
        second = cube.data.uv_layers.new(name="Second")
        second.uv.foreach_set("vector", np.full(48, 0.25, np.float32))
        cube.data.uv_layers.active = second
        assert not second.active_render
        source = capture(cube)
        assert source.uv_name == "Second"
        assert (source.uv == 0.25).all()

    @pytest.mark.parametrize("scale", [1e-3, 1e3])
    def test_a_flat_one_of_any_size_has_normals(self, square, capture, scale):
        square.scale = (scale, scale, 0.0)
        source = capture(square)
        assert source.normals == pytest.approx(np.broadcast_to([0.0, 0.0, 1.0], (4, 3, 3)), abs=1e-6)

    def test_its_file_is_one_that_the_engine_reads(self, cube, capture, tmp_path):
        cube.scale.x = -1.0
        source = capture(cube, look_size=16)
        source.write(tmp_path / "source.npz")
        read = read_source(tmp_path / "source.npz")
        assert (read.faces == source.faces).all()
        assert (read.uv == source.uv).all()
        assert (read.look_corners == source.look_corners).all()

    def test_a_hidden_one_has_its_modifiers_too(self, cube, capture):
        cube.hide_set(True)
        cube.modifiers.new("Array", "ARRAY")
        assert len(capture(cube).faces) == 24


class TestSomeOfTheFaces:
    def test_those_selected_are_painted(self, cube, capture):
        for polygon in cube.data.polygons:
            polygon.select = polygon.index == 3
        painted = capture(cube, only_selected=True).painted
        assert painted.sum() == 2

    def test_the_selection_goes_through_modifiers(self, square, capture):
        square.data.polygons[0].select = False
        square.modifiers.new("Array", "ARRAY")
        square.modifiers.new("Subdivision", "SUBSURF").levels = 1
        source = capture(square, only_selected=True)
        assert len(source.painted) == 32
        assert source.painted.sum() == 16

    def test_those_of_a_vertex_group_are_painted(self, square, capture):
        square.vertex_groups.new(name="Other")
        square.vertex_groups.new(name="Right").add([1, 2, 4, 5], 1.0, "REPLACE")
        square.modifiers.new("Subdivision", "SUBSURF").levels = 1
        source = capture(square, vertex_group="Right")
        centres = source.vertices[source.faces].mean(axis=1)
        assert (source.painted == (centres[:, 0] > 0.5)).all()
        assert source.painted.sum() == 8

    @pytest.mark.parametrize("is_first", [True, False])
    def test_a_vertex_group_is_found_by_its_name_where_modifiers_join_meshes(
        self, bpy, cube, capture, refusal, is_first
    ):
        from mathutils import Matrix

        other = bpy.data.objects.new("Other", cube.data.copy())
        other.data.transform(Matrix.Translation((9.0, 0.0, 0.0)))
        every = list(range(8))
        cube.vertex_groups.new(name="Corner").add([0], 1.0, "REPLACE")
        for thing, name in ((cube, "All"), (other, "Theirs")):
            thing.vertex_groups.new(name=name).add(every, 1.0, "REPLACE")
        group = bpy.data.node_groups.new("Joined", "GeometryNodeTree")
        for in_out in ("INPUT", "OUTPUT"):
            group.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
        join, theirs = group.nodes.new("GeometryNodeJoinGeometry"), group.nodes.new("GeometryNodeObjectInfo")
        theirs.inputs["Object"].default_value = other
        outputs = theirs.outputs["Geometry"], group.nodes.new("NodeGroupInput").outputs[0]
        for output in outputs if is_first else outputs[::-1]:
            group.links.new(output, join.inputs[0])
        group.links.new(join.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
        cube.modifiers.new("Nodes", "NODES").node_group = group
        source = capture(cube, vertex_group="All")
        assert (source.painted == (source.vertices[source.faces][..., 0] < 5.0).all(axis=1)).all()
        assert 'is in the vertex group "Corner"' in refusal(cube, vertex_group="Corner")
        group.links.new(theirs.outputs["Geometry"], group.nodes["Group Output"].inputs[0])
        assert "do not keep" in refusal(cube, vertex_group="Corner")

    def test_none_at_all_is_a_sentence(self, cube, refusal):
        for polygon in cube.data.polygons:
            polygon.select = False
        assert "No face" in refusal(cube, only_selected=True)
        assert "has no vertex group" in refusal(cube, vertex_group="Lid")
        cube.vertex_groups.new(name="Lid").add([0], 1.0, "REPLACE")
        assert 'is in the vertex group "Lid"' in refusal(cube, vertex_group="Lid")


class TestRefusals:
    @pytest.mark.parametrize("kind", ["CURVE", "FONT", "META", "SURFACE"])
    def test_what_can_become_a_mesh_is_told_how(self, bpy, refusal, kind):
        add = {
            "CURVE": bpy.ops.curve.primitive_bezier_circle_add,
            "FONT": bpy.ops.object.text_add,
            "META": bpy.ops.object.metaball_add,
            "SURFACE": bpy.ops.surface.primitive_nurbs_surface_sphere_add,
        }
        add[kind]()
        assert bpy.context.object.type == kind
        assert "Convert" in refusal(bpy.context.object)

    def test_what_is_no_mesh(self, bpy, refusal):
        assert "is not a mesh" in refusal(bpy.data.objects["Camera"])
        group = bpy.data.collections.new("Rocks")
        instance = bpy.data.objects.new("Instance", None)
        instance.instance_type, instance.instance_collection = "COLLECTION", group
        bpy.context.scene.collection.objects.link(instance)
        assert "Make Instances Real" in refusal(instance)

    def test_a_mesh_without_faces(self, cube, make, refusal):
        assert "has no faces" in refusal(make([(0, 0, 0), (1, 0, 0)], []))
        mask = cube.modifiers.new("Mask", "MASK")
        mask.vertex_group, mask.invert_vertex_group = cube.vertex_groups.new(name="None").name, False
        assert "modifiers" in refusal(cube)

    def test_a_mesh_of_instances_only_or_among_others(self, bpy, cube, capture, refusal):
        group = bpy.data.node_groups.new("Instances", "GeometryNodeTree")
        for in_out in ("INPUT", "OUTPUT"):
            group.interface.new_socket("Geometry", in_out=in_out, socket_type="NodeSocketGeometry")
        instance = group.nodes.new("GeometryNodeGeometryToInstance")
        group.links.new(group.nodes.new("NodeGroupInput").outputs[0], instance.inputs[0])
        group.links.new(instance.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
        cube.modifiers.new("Nodes", "NODES").node_group = group
        assert "Realize Instances" in refusal(cube)
        join = group.nodes.new("GeometryNodeJoinGeometry")
        group.links.new(instance.outputs[0], join.inputs[0])
        group.links.new(group.nodes["Group Input"].outputs[0], join.inputs[0])
        group.links.new(join.outputs[0], group.nodes["Group Output"].inputs[0])
        assert "instances" in capture(cube).notices[0]  # which are not painted, and the mesh is
        cube.modifiers[0].show_viewport = False
        assert capture(cube).notices == ()

    def test_a_mesh_without_extent_or_with_broken_numbers(self, cube, refusal):
        cube.data.vertices[0].co.x = math.nan
        assert "NaN" in refusal(cube)
        cube.data.vertices[0].co.x = 1.0
        cube.scale = (0.0, 0.0, 0.0)
        assert "no extent" in refusal(cube)

    def test_one_that_is_in_no_viewport(self, bpy, cube, refusal):
        cube.hide_viewport = True
        assert "hidden" in refusal(cube)
        cube.hide_viewport = False
        for collection in list(cube.users_collection):
            collection.objects.unlink(cube)
        assert "not in the scene" in refusal(cube)

    def test_a_linked_one_is_made_local_first(self, bpy, extension, tmp_path, refusal):
        path = tmp_path / "library.blend"
        bpy.data.libraries.write(str(path), {bpy.data.objects["Cube"]})
        with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
            wanted.objects = ["Cube"]
        bpy.context.scene.collection.objects.link(wanted.objects[0])
        (linked,) = wanted.objects
        assert "Make Local" in refusal(linked)
        linked.override_create(remap_local_usages=True)
        (override,) = (each for each in bpy.data.objects if each.override_library is not None)
        override.data, override.name = override.data.copy(), "Override"
        assert "library override" in refusal(override)

    def test_a_uv_map_in_udim_tiles(self, square, capture, refusal):
        layer = square.data.uv_layers.active
        for loop in square.data.polygons[1].loop_indices:
            layer.uv[loop].vector.x += 0.5
        assert "UDIM" in refusal(square)
        layer.uv[0].vector.x += 1.5
        assert capture(square).uv is not None, "a texture that repeats"

    def test_a_texture_that_repeats_over_a_grid_is_not_in_udim_tiles(self, bpy, capture, refusal):
        """Though every triangle lies in one square."""
        bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4)
        thing = bpy.context.object
        for corner in thing.data.uv_layers.active.uv:
            corner.vector *= 2.0
        assert capture(thing).uv is not None
        for polygon in thing.data.polygons:  # its quarters apart from each other, each in a square of its own
            for vertex, loop in zip(polygon.vertices, polygon.loop_indices, strict=True):
                x, y, _ = thing.data.vertices[vertex].co
                offset = [0.0 if middle < 0.0 else 1.0 for middle in polygon.center[:2]]
                thing.data.uv_layers.active.uv[loop].vector = (x * 0.45 + 0.5 + offset[0], y * 0.45 + 0.5 + offset[1])
        assert "UDIM" in refusal(thing)

    @pytest.mark.parametrize("kind", ["SOLIDIFY", "WIREFRAME"])
    def test_rims_on_the_border_of_the_uv_map_are_in_no_other_tile(self, bpy, capture, kind):
        bpy.ops.mesh.primitive_plane_add()
        bpy.context.object.modifiers.new("rim", kind)
        assert capture(bpy.context.object).uv is not None

    def test_a_useless_uv_map_where_there_is_no_room_for_a_new_one(self, square, capture, refusal):
        layers = square.data.uv_layers
        while len(layers) < 8:
            layers.new()
        capture(square)  # its active map can hold a texture
        for corner in layers.active.uv:
            corner.vector = (0.5, 0.5)
        assert "as many UV maps" in refusal(square)
        layers[-1].name = "SDI.001"
        capture(square)  # an earlier job's map, which this one may have again
        layers.remove(layers[-1])
        capture(square)

    def test_an_image_of_udim_tiles(self, bpy, square, material, refusal):
        made, shader = material()
        image = bpy.data.images.new("Tiles", 8, 8, tiled=True)
        image.tiles.new(1002)
        feed(shader, "ShaderNodeTexImage", "Color", image=image)
        square.data.materials.append(made)
        assert "UDIM" in refusal(square)


class TestLook:
    def test_it_is_not_taken_unless_it_is_wanted(self, cube, capture):
        source = capture(cube)
        assert source.look is None
        assert source.look_corners is None

    def test_without_a_material_it_is_grey(self, square, capture):
        source = capture(square, look_size=16)
        assert (source.look_corners == GREY).all()
        assert not source.notices

    def test_plain_colours_of_several_materials_and_an_empty_slot(self, bpy, square, material, capture):
        square.data.materials.append(material((1.0, 0.0, 0.0), metallic=1.0)[0])
        square.data.materials.append(None)
        square.data.polygons[1].material_index = 1
        source = capture(square, look_size=16)
        is_right = source.vertices[source.faces].mean(axis=1)[:, 0] > 0.5
        assert (source.look_corners[~is_right] == [255, 0, 0]).all()
        assert (source.look_corners[is_right] == GREY).all()

    def test_an_image_on_the_uv_map_is_taken_as_it_is(self, bpy, square, material, capture):
        made, shader = material(metallic=1.0)
        feed(shader, "ShaderNodeTexImage", "Color", image=checker(bpy))
        square.data.materials.append(made)
        source = capture(square, look_size=64)
        assert source.look.shape == (8, 8, 3)
        assert source.look[7, 0].tolist() == [255, 0, 0], "row 0 is at v = 1"
        assert source.look[0, 7].tolist() == [0, 128, 0]
        assert source.look[0, 0].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("modifier", [None, "ARRAY"])
    def test_a_material_that_the_object_has_in_a_slot(self, square, material, capture, modifier):
        square.data.materials.append(material((0.0, 0.0, 1.0))[0])
        square.material_slots[0].link = "OBJECT"
        square.material_slots[0].material = material((1.0, 0.0, 0.0))[0]
        if modifier:
            square.modifiers.new("A modifier", modifier)
        colours = capture(square, look_size=16).look_corners
        assert (colours == [255, 0, 0]).all()

    @pytest.mark.parametrize("is_baked", [False, True])
    @pytest.mark.parametrize(
        ("is_float", "is_used", "colour"),
        [
            (False, True, (102, 51, 26)),
            (False, False, (51, 26, 13)),
            (True, True, (170, 124, 89)),
            (True, False, (124, 89, 63)),
        ],
    )
    def test_alpha_darkens_an_image_where_the_material_does_not_use_it(
        self, bpy, square, material, capture, is_float, is_used, colour, is_baked
    ):
        """As in Cycles; cut out by its alpha, a leaf is as green at its edge as in its middle."""
        image = bpy.data.images.new("Leaf", 8, 8, alpha=True, float_buffer=is_float)
        image.alpha_mode = "PREMUL" if is_float else "STRAIGHT"
        straight = np.array([0.4, 0.2, 0.1, 1.0], np.float32)
        image.pixels.foreach_set(np.tile(straight * (0.5 if is_float else [1.0, 1.0, 1.0, 0.5]), 64).astype(np.float32))
        made, shader = material()
        square.data.materials.append(made)
        node = feed(shader, "ShaderNodeTexImage", "Color", image=image)
        if is_used:
            made.node_tree.links.new(node.outputs["Alpha"], shader.inputs["Alpha"])
        if is_baked:
            brightness = feed(shader, "ShaderNodeBrightContrast", "Color")
            made.node_tree.links.new(node.outputs["Color"], brightness.inputs["Color"])
        np.testing.assert_allclose(capture(square, look_size=8).look.astype(int), [[colour] * 8] * 8, atol=1)

    def test_a_muted_link_feeds_no_colour(self, square, material, capture):
        made, shader = material((1.0, 0.0, 0.0))
        feed(shader, "ShaderNodeRGB", "Color").outputs[0].default_value = (0.0, 1.0, 0.0, 1.0)
        shader.inputs["Base Color"].links[0].is_muted = True
        square.data.materials.append(made)
        look = capture(square, look_size=16).look
        np.testing.assert_allclose(look[8, 8], [255, 0, 0], atol=2)

    def test_vertex_colours(self, bpy, square, material, capture):
        made, shader = material()
        feed(shader, "ShaderNodeVertexColor", "Color", layer_name="Paint")
        square.data.materials.append(made)
        paint = square.data.color_attributes.new("Paint", "FLOAT_COLOR", "POINT")
        for vertex, value in zip(square.data.vertices, paint.data, strict=True):
            value.color_srgb = (1.0, 0.0, 0.0, 1.0) if vertex.co.x < 0.75 else (0.0, 0.0, 1.0, 1.0)
        source = capture(square, look_size=16)
        is_right = source.vertices[source.faces][..., 0] > 0.75
        assert (source.look_corners[~is_right] == [255, 0, 0]).all()
        assert (source.look_corners[is_right] == [0, 0, 255]).all()

    def test_nodes_are_baked_whatever_shines_in_them(self, bpy, square, material, capture):
        """Left a metal with an image of another map by nodes, right a mix of a plain red with what is transparent."""
        made, shader = material(metallic=1.0)
        image = feed(shader, "ShaderNodeTexImage", "Color", image=checker(bpy), interpolation="Closest")
        mapping = made.node_tree.nodes.new("ShaderNodeMapping")
        mapping.inputs["Location"].default_value = (0.5, 0.5, 0.0)
        tree = made.node_tree
        tree.links.new(tree.nodes.new("ShaderNodeTexCoord").outputs["UV"], mapping.inputs["Vector"])
        tree.links.new(mapping.outputs["Vector"], image.inputs["Vector"])
        square.data.materials.append(made)
        mixed, shader = material((1.0, 0.0, 0.0))
        tree = mixed.node_tree
        mix = tree.nodes.new("ShaderNodeMixShader")
        tree.links.new(shader.outputs[0], mix.inputs[1])
        tree.links.new(tree.nodes.new("ShaderNodeBsdfTransparent").outputs[0], mix.inputs[2])
        tree.links.new(mix.outputs[0], tree.nodes["Material Output"].inputs["Surface"])
        square.data.materials.append(mixed)
        square.data.polygons[1].material_index = 1
        nodes = [len(each.node_tree.nodes) for each in (made, mixed)]
        source = capture(square, look_size=16)
        assert not source.notices
        assert source.look[14, 2].tolist() == [0, 128, 0], "the lower left has what the image has at the upper right"
        assert source.look[2, 2].tolist() == [0, 0, 0]
        assert (source.look[:, 8:] == [255, 0, 0]).all()
        assert nodes == [len(each.node_tree.nodes) for each in (made, mixed)]

    def test_a_shader_in_a_node_group_is_baked_and_the_group_stays(self, bpy, square, material, capture):
        group = bpy.data.node_groups.new("Paint", "ShaderNodeTree")
        group.interface.new_socket("Shader", in_out="OUTPUT", socket_type="NodeSocketShader")
        inner = group.nodes.new("ShaderNodeBsdfPrincipled")
        inner.inputs["Base Color"].default_value = (0.0, 0.0, 1.0, 1.0)
        group.links.new(inner.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
        made, _ = material()
        node = made.node_tree.nodes.new("ShaderNodeGroup")
        node.node_tree = group
        made.node_tree.links.new(node.outputs[0], made.node_tree.nodes["Material Output"].inputs["Surface"])
        square.data.materials.append(made)
        source = capture(square, look_size=16)
        assert (source.look[8] == [0, 0, 255]).all()
        assert node.node_tree == group
        assert len(group.nodes) == 2

    def test_nodes_are_baked_in_edit_mode_too_which_goes_on(self, bpy, cube, material, capture):
        made, shader = material()
        feed(shader, "ShaderNodeTexVoronoi", "Color")
        cube.data.materials[0] = made
        bpy.context.view_layer.objects.active = cube
        bpy.ops.object.mode_set(mode="EDIT")
        source = capture(cube, look_size=16)
        assert len(np.unique(source.look)) > 10
        assert cube.mode == "EDIT"
        assert bpy.context.selected_objects == [cube]

    def test_without_a_uv_map_nodes_are_baked_to_corners(self, bpy, make, material, capture):
        thing = make([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [(0, 1, 2, 3)])
        made, shader = material()
        coordinates = made.node_tree.nodes.new("ShaderNodeTexCoord")
        made.node_tree.links.new(coordinates.outputs["Object"], shader.inputs["Base Color"])
        thing.data.materials.append(made)
        source = capture(thing, look_size=16)
        at = source.vertices[source.faces]
        assert source.look is None
        assert source.look_corners[..., 0] == pytest.approx(255 * at[..., 0], abs=20)
        assert source.look_corners[..., 1] == pytest.approx(255 * at[..., 1], abs=20)

    def test_generated_coordinates_are_those_of_the_mesh_before_its_modifiers(self, cube, material, capture):
        made, shader = material()
        feed(shader, "ShaderNodeTexCoord", "Generated")
        cube.data.materials[0] = made
        cube.data.uv_layers.remove(cube.data.uv_layers[0])
        cube.modifiers.new("Array", "ARRAY")
        source = capture(cube, look_size=16)
        at = source.vertices[source.faces]
        assert (source.look_corners[..., 0][at[..., 0] > 0.9] > 250).all()

    def test_a_missing_image_is_told(self, bpy, square, material, capture, tmp_path):
        made, shader = material()
        image = checker(bpy)
        image.filepath, image.source = str(tmp_path / "gone.png"), "FILE"
        feed(shader, "ShaderNodeTexImage", "Color", image=image)
        square.data.materials.append(made)
        source = capture(square, look_size=16)
        assert source.look is None
        assert source.look_corners is None
        assert "missing" in source.notices[0]

    def test_a_bake_that_fails_leaves_nothing_behind_and_is_told(
        self, bpy, extension, square, material, capture, monkeypatch
    ):
        made, shader = material()
        feed(shader, "ShaderNodeTexVoronoi", "Color")
        square.data.materials.append(made)
        fake = type("bpy", (), {"__getattr__": lambda self, name: getattr(bpy, name)})()
        bake = type("Bake", (), {"object": type("Ops", (), {"bake": staticmethod(fail)})})
        fake.ops = bake
        monkeypatch.setattr(sys.modules[f"{extension.__name__}.scene.baking"], "bpy", fake)
        source = capture(square, look_size=16)
        assert source.look is None
        assert "as it was told" in source.notices[0]


def fail(**_):
    raise RuntimeError("Error: as it was told\n")
